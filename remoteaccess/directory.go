package remoteaccess

import "time"

// mostKnown is for how long it counts what the directory said, while it is away.
const mostKnown = 30 * 24 * time.Hour
