"""Section on kernels, attention and receptive fields: figures, tables and sentences. Needs the analysis of kernels."""
