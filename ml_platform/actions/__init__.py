"""What users may request, each action once: its subject, right, input and effect.

Pages, the API and commands all go through `perform`, so that they cannot answer differently.
"""
