//! What the benchmark of intake is made of: sender, contenders, measuring, telling.

pub mod alone;
pub mod contender;
pub mod events;
pub mod load;
pub mod plan;
pub mod report;
pub mod scenes;
