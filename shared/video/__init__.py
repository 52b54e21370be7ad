"""From a video file to the frames of its clip: sampling, exact decoding, resizing."""
