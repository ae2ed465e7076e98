//! What a plugin author needs: tensor newtypes, every plugin trait, the registry.
