"""Users' own part datasets in COCO format."""
