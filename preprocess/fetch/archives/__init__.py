"""Archives of videos, read without trusting them: .zip, .tar and .rar."""
