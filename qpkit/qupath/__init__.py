"""QuPath's own files: projects, .qpdata and GeoJSON, read and written without Java."""

from qpkit.qupath.backend import use_backend
from qpkit.qupath.geojson import GeoJsonReport, GeoJsonWriter, iter_geojson, read_geojson, write_geojson
from qpkit.qupath.project import Entry, Project, open_project
from qpkit.qupath.project_writer import add_image, create_project
from qpkit.qupath.qpdata import QpData, read_qpdata
from qpkit.qupath.qpdata_new import new_qpdata
from qpkit.qupath.qpdata_parts import WorkflowStep
from qpkit.qupath.server import Server

__all__ = [
    "Entry",
    "GeoJsonReport",
    "GeoJsonWriter",
    "Project",
    "QpData",
    "Server",
    "WorkflowStep",
    "add_image",
    "create_project",
    "iter_geojson",
    "new_qpdata",
    "open_project",
    "read_geojson",
    "read_qpdata",
    "use_backend",
    "write_geojson",
]
