"""The screens: one for each section, the object screen, and dialogs."""
