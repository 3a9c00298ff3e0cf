"""Studies: a grid of recipes, variants and seeds, trained, attacked and compared person by person."""

from unfooled.studies.plan import Job, Study, load_study
from unfooled.studies.tables import StudyTable, tabulate
from unfooled.studies.work import Step, work_on

__all__ = ["Job", "Step", "Study", "StudyTable", "load_study", "tabulate", "work_on"]
