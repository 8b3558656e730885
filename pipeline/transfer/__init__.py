"""The opponents of a fine-tuned model: what does without transfer, or without fine-tuning."""
