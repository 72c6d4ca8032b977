"""From run directories to tables, figures and one page. Reads files alone: no model code is imported here."""
