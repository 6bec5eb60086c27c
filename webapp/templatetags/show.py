"""How numbers and times read on a page; available in every template without loading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from django import template
from django.template import Context
from django.template.loader_tags import BLOCK_CONTEXT_KEY
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from detection_core.catalogue.layouts import IMPORTED_FAMILIES

register = template.Library()

ALL_FAMILIES = FAMILIES | IMPORTED_FAMILIES
BACKENDS = {"eager": "PyTorch eager", "onnxruntime": "ONNX Runtime", "null": "null (harness)"}


def _version() -> str:
    try:
        return metadata.version("paretobox")
    except metadata.PackageNotFoundError:
        return "from source"


VERSION = _version()


@register.filter
def ap(value: float | None) -> str:
    """Show an AP (0..1) times 100 with one decimal, or an en dash."""
    return "–" if value is None else f"{value * 100:.1f}"


@register.filter
def signed_ap(value: float | None) -> str:
    """Show a difference of APs (0..1) times 100 with its sign."""
    return "–" if value is None else f"{value * 100:+.1f}".replace("-", "−")


@register.filter
def percent(value: float | None) -> str:
    """Show a share (0..1) in per cent, with more digits near 0 and near 100, neither of which a part of the whole ever reads."""
    if value is None:
        return "–"
    hundredths = value * 100
    if 0 < hundredths < 0.01:
        return "< 0.01 %"
    if 99.99 < hundredths < 100:
        return "> 99.99 %"
    return f"{hundredths:.2f} %" if 0 < hundredths < 1 or 99 < hundredths < 100 else f"{hundredths:.1f} %"


@register.filter
def ms(value: float | None) -> str:
    """Show milliseconds with three significant digits, or an en dash."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@register.filter
def fps(value: float | None) -> str:
    """Show frames per second: a whole number from 10 up, one decimal below."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


@register.filter
def seconds(value: float | None) -> str:
    """Show a duration as `3 min 12 s`."""
    if value is None:
        return "–"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def bytesize(value: int | None) -> str:
    """Show a size in bytes, kB, MB or GB (powers of ten)."""
    if value is None:
        return "–"
    size = float(value)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@register.filter
def counted(value: int | None) -> str:
    """Show a whole number with thin spaces between thousands: `12 345`."""
    return "–" if value is None else f"{value:,}".replace(",", "\u2009")


@register.filter
def decimals(value: float | None) -> str:
    """Show a plain quantity (millions of parameters, G MACs) with three significant digits."""
    return ms(value)


@register.filter
def ago(moment: datetime | None) -> str:
    """Show a moment relative to now (`3 min ago`); inside a <time>, whose title tells the exact one."""
    if moment is None:
        return "–"
    passed = (timezone.now() - moment).total_seconds()
    if passed < 0:
        return f"in {seconds(-passed)}"
    for size, name in ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day")):
        if passed >= size:
            number = int(passed // size)
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    if passed >= 3600:
        return f"{int(passed // 3600)} h ago"
    return f"{int(passed // 60)} min ago" if passed >= 60 else "just now"


@register.filter
def moment(value: datetime | None) -> SafeString:
    """Show a moment as a <time>: relative words, exact value beside them for scripts and on focus."""
    if value is None:
        return mark_safe("–")
    exact = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), exact, ago(value))


@register.filter
def family_slot(name: str) -> int:
    """Return the colour slot (0..10) of a family, the same on every page."""
    return ALL_FAMILIES[name].colour if name in ALL_FAMILIES else 7


@register.filter
def family_title(name: str) -> str:
    """Return how a family is written."""
    return ALL_FAMILIES[name].title if name in ALL_FAMILIES else name


@register.filter
def model_title(name: str) -> str:
    """Return how a detector is written; a name that is not in the catalogue stands for itself."""
    return DETECTORS[name].title if name in DETECTORS else name


@register.filter
def backend_title(name: str) -> str:
    """Return how a backend is written."""
    return BACKENDS.get(name, name)


@register.filter
def short_hash(value: str) -> str:
    """Return the first twelve digits of a hash."""
    return value[:12]


@register.filter
def words(value: str) -> str:
    """Turn a code word into plain words: `single_stream` reads `single stream`."""
    return value.replace("_", " ")


@register.filter
def item(mapping: Mapping[str, Any], key: str) -> Any:
    """Return one entry of a mapping, or nothing."""
    return mapping.get(key)


@register.simple_tag
def site_version() -> str:
    """Return the installed version of the site."""
    return VERSION


@register.simple_tag(takes_context=True)
def nav_link(context: Context, name: str, text: str) -> SafeString:
    """Write a link of the top bar, marked where it leads to the section that is open."""
    request = context.get("request")
    url = reverse(name)
    path = request.path if request is not None else ""
    here = path == url or (url != "/" and path.startswith(url + "/"))
    return format_html('<a href="{}"{}>{}</a>', url, mark_safe(' aria-current="page"') if here else "", text)


@register.simple_tag(takes_context=True)
def again(context: Context, name: str) -> str:
    """Write what the page put into a block a second time (the title is also the heading)."""
    return context.render_context[BLOCK_CONTEXT_KEY].get_block(name).render(context)


@register.simple_tag(takes_context=True)
def with_query(context: Context, **changes: Any) -> str:
    """Return the address of this page with some query fields changed; None or "" takes a field out."""
    query = context["request"].GET.copy()
    for key, value in changes.items():
        if value in (None, ""):
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"?{query.urlencode()}" if query else "?"
