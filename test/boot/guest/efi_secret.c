// What Linux shows of injected secrets (EFI_SECRET), for a kernel that is built without it: a folder of securityfs with a
// file for each, which says that it is empty and has its bytes all the same; removing one wipes it. The table is a file of
// the initrd instead of memory that the firmware names; without that file there is no device, and nothing is shown.
// Test guests alone have it.
// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

#include <linux/fs.h>
#include <linux/kernel_read_file.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/security.h>
#include <linux/uuid.h>

#define NAME "efi_secret"
#define TABLE "/etc/guest-attest-emulator/secrets"

/* Before the table, and before each entry of it: the length is that of the whole. */
struct head {
	guid_t guid;
	__le32 length;
} __packed;

static size_t rest_of(const struct head *head)
{
	return le32_to_cpu(head->length) - sizeof(*head);
}

static ssize_t read_secret(struct file *file, char __user *to, size_t count, loff_t *at)
{
	struct head *secret = file_inode(file)->i_private;

	return simple_read_from_buffer(to, count, at, secret + 1, rest_of(secret));
}

static const struct file_operations file_operations = { .owner = THIS_MODULE, .read = read_secret };

/* Not securityfs_remove(): that takes the lock of the folder, which whoever removes a file of it holds. */
static int wipe_secret(struct inode *folder, struct dentry *file)
{
	struct head *secret = d_inode(file)->i_private;

	memzero_explicit(secret + 1, rest_of(secret));
	return simple_unlink(folder, file);
}

static const struct inode_operations folder_operations = { .lookup = simple_lookup, .unlink = wipe_secret };

static int show_secrets(struct platform_device *device)
{
	void *table = *(void **)dev_get_platdata(&device->dev);
	struct head *all = table, *secret = all + 1;
	void *end = table + le32_to_cpu(all->length);
	struct dentry *folder = securityfs_create_dir("coco", securityfs_create_dir("secrets", NULL));

	if (IS_ERR(folder))
		return PTR_ERR(folder);
	d_inode(folder)->i_op = &folder_operations;
	for (; (void *)(secret + 1) <= end && le32_to_cpu(secret->length) > sizeof(*secret);
	     secret = (void *)secret + le32_to_cpu(secret->length)) {
		char name[UUID_STRING_LEN + 1];

		snprintf(name, sizeof(name), "%pUl", &secret->guid);
		securityfs_create_file(name, 0600, folder, secret, &file_operations);
	}
	return 0;
}

static struct platform_driver driver = { .probe = show_secrets, .driver = { .name = NAME } };

static int __init begin(void)
{
	void *table = NULL;
	int error = platform_driver_register(&driver);

	if (error || kernel_read_file_from_path(TABLE, 0, &table, INT_MAX, NULL, READING_FIRMWARE) < 0)
		return error;
	return PTR_ERR_OR_ZERO(platform_device_register_data(NULL, NAME, 0, &table, sizeof(table)));
}

module_init(begin);
MODULE_DESCRIPTION("injected secrets of a test guest");
MODULE_LICENSE("GPL");
