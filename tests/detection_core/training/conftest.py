import pytest
import torch

from tests.detection_core.training.small import draw_dataset


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("squares"))
