//! The register of channels: one line each.
