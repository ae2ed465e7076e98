//! The umbrella: linking this crate links every plugin, so that `inventory` sees them all.
#![deny(unused_crate_dependencies)]

use backbones as _;
use build_features as _;
use codecs as _;
use data as _;
use features as _;
use heads as _;
use methods as _;
use metrics as _;
use samplers as _;
use schedules as _;
use text_encoders as _;
use weightings as _;
