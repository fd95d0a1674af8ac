"""Records of images with formal text, questions, reasoning and answers: made, read, packed."""
