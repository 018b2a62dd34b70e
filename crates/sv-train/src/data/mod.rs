//! From recordings to batches: manifests, preparation and its cache, samplers, the loader.
