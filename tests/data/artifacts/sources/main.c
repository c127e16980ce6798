#include <linux/module.h>
MODULE_DESCRIPTION("a small module for tests");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0.0+driver");
static int __init start(void) { pr_info("start\n"); return 0; }
static void __exit end(void) { pr_info("end\n"); }
module_init(start);
module_exit(end);
