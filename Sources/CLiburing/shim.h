/* features.h first: liburing.h defines _GNU_SOURCE, which would give its view of glibc's
   structures another layout than the one in Swift's own Glibc module. */
#include <features.h>
#include <liburing.h>
