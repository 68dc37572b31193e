"""Keys: a data key for each subject, wrapped by a master key, destroyed when the person is erased."""
