//! What archives, header trees and caches hold: links, damage, modes, names.
