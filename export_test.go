package elock

// ForgetInstance undoes GetELockerInstance.
func ForgetInstance() {
	instance.mu.Lock()
	defer instance.mu.Unlock()
	instance.e = nil
}
