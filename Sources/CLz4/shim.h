#include <features.h>
#include <lz4.h>
