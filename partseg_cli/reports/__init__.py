"""Reports: results, tables, figures, pages."""
