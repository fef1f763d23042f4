"""QuPath's own files: projects, .qpdata and GeoJSON, read and written without Java."""

from qpkit.qupath.geojson.reader import iter_geojson, read_geojson, write_geojson
from qpkit.qupath.project.backend import use_backend
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.project import Entry, Project
from qpkit.qupath.project.writer import add_image, create_project
from qpkit.qupath.qpdata.file import QpData, read_qpdata
from qpkit.qupath.qpdata.new_file import new_qpdata

__all__ = [
    "Entry",
    "Project",
    "QpData",
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
