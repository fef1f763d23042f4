"""QuPath's own files: projects, .qpdata and GeoJSON, read and written without Java."""

from qpkit.qupath.project import Entry, Project, open_project
from qpkit.qupath.qpdata import QpData, WorkflowStep, new_qpdata
from qpkit.qupath.server import Server

__all__ = ["Entry", "Project", "QpData", "Server", "WorkflowStep", "new_qpdata", "open_project"]
