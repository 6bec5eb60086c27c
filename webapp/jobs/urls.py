"""Addresses of the job pages."""

from django.urls import path

from webapp.jobs.views import acts, assignment, foreign, imports, pages, submit, watch

urlpatterns = [
    path("jobs", pages.job_list, name="job-list"),
    path("jobs/new", submit.job_new, name="job-new"),
    path("jobs/new/plan", submit.job_plan, name="job-plan"),
    path("jobs/new/assignment", assignment.job_assignment, name="job-assignment"),
    path("jobs/<uuid:uuid>", pages.job_detail, name="job-detail"),
    path("jobs/<uuid:uuid>/stream", watch.job_stream, name="job-stream"),
    path("jobs/<uuid:uuid>/log", watch.job_log, name="job-log"),
    path("jobs/<uuid:uuid>/spec", watch.job_spec, name="job-spec"),
    path("jobs/<uuid:uuid>/cancel", acts.job_cancel, name="job-cancel"),
    path("jobs/<uuid:uuid>/retry", acts.job_retry, name="job-retry"),
    path("suites/<uuid:uuid>", pages.suite_detail, name="suite-detail"),
    path("suites/<uuid:uuid>/cancel", acts.suite_cancel, name="suite-cancel"),
    path("datasets/new", imports.dataset_import, name="dataset-import"),
    path("datasets/versions/<uuid:uuid>/freeze", imports.dataset_freeze, name="dataset-freeze"),
    path("models/import", foreign.model_import, name="model-import"),
    path("score", foreign.score, name="score"),
]
