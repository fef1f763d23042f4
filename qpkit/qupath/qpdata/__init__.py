"""QuPath's .qpdata: objects, ROIs and classes in a Java stream, read, edited and made."""
