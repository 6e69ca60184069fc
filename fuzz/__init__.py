"""What must hold for whatever strangers send: ``make fuzz`` looks for input that breaks it."""
