"""Who finds people, landmarks and masks in a picture: MediaPipe, Sapiens2, or a class of the user's."""
