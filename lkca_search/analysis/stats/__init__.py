"""Statistics of replicates, (draws, seeds), as plain functions of arrays; imports numpy, scipy and spec values only."""
