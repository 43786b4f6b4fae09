onSubmit(async () => {
    const password = form.elements.password.value;
    const refusal = await send('api/v1/auth/reset-password', { password });
    if (refusal === null) {
        form.hidden = true;
        said.textContent = 'Your password is set, and every session was ended. Log in with it now.';
    }
    return refusal;
});
