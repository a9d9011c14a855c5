"""Presenter mode: a scripted sequence of scenes, one picture each, played by keys; changes nothing that is stored."""
