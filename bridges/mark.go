package bridges

// Mark is the header field by which the edge tells home servers that a request came
// by a bridge, and by which: what comes back with it from them leaves by none.
// Nobody outside can set it.
const Mark = "Sipedge-Bridge"
