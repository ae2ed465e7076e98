//! Weights in and out: safetensors, key maps between namings, hub download, hostile-file limits.
