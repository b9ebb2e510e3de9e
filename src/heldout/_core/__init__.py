"""Ground floor: the contract every other module stands on."""
