"""CLIPSeg (Lüddecke and Ecker, CVPR 2022), also as fine-tuned on parts in OV-PARTS."""
