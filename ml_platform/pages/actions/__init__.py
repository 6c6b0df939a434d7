"""The actions of buttons, and the forms that ask for a reason."""
