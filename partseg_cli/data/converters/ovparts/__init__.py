"""The OV-PARTS repacks of Pascal-Part-116 and ADE20K-Part-234."""
