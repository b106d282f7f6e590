"""Series of trainings that answer a question: what mining is worth, and whether the paper's tables come out."""
