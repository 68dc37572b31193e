"""A push tool that behaves as OneSignal does: takes notifications in, and calls the engagement webhook back."""
