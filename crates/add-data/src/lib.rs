//! Samples: decoding with limits, augmentation, order and cursor, caches.
