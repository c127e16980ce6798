//! What a server sends: broken, cut short, different the next time.
