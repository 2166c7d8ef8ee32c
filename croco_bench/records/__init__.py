"""Result files: schema and store. No torch here."""
