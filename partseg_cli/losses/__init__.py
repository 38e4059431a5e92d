"""The training objective of PartCLIPSeg, Eq. 5-9."""
