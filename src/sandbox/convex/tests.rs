//! Behaviour of the simulated Convex (the contract itself is in the conformance cases).
