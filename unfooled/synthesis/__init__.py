"""Forged faces from real photographs: the families of FaceForensics++, on any face with landmarks."""
