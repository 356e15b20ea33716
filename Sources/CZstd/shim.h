#include <features.h>
#include <zstd.h>
