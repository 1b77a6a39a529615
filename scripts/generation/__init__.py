"""Tasks with known answers, drawn and worded from a seed."""
