"""Series of trainings that answer a question: what mining is worth, whether the tables and recorded runs come out."""
