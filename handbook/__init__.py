"""Makes docs/ a site: what is generated from the code, and how pages are turned into what MkDocs reads. `make docs` builds it."""
