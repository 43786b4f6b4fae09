onSubmit(async () => {
    const refusal = await send('api/v1/auth/contacts/undo', {});
    if (refusal === null) {
        form.hidden = true;
        said.textContent = 'The change is taken back. Ask for a new password to log in.';
    }
    return refusal;
});
