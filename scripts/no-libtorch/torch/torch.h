// Found only while there is no libtorch, since .cargo/config.toml names this folder as the last to search.
#error There is no libtorch yet. Run scripts/libtorch (or scripts/nada, which does), then build again.
#include "run scripts/libtorch first"    // fatal, so that thousands of other errors do not follow
